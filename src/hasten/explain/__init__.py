"""Why a run is as slow as it is: every request's time by cause, and what one change would buy."""
