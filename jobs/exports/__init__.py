"""What comes in: data contracts, the files of an export read and checked against them, their rows appended."""
