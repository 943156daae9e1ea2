"""What all claims share: their type, how figures become verdicts, running them, recording and drawing the results."""
