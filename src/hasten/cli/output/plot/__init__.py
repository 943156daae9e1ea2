"""Charts in the terminal: a canvas of dots, scales, and what runs, plans and explanations look like on them."""
