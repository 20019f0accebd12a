"""What the commands of benchmarks/ share. Import `lib.…` from a command; nothing in here is run by hand."""
