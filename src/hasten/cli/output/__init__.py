"""What commands print: tables and JSON on standard output, progress on standard error."""
