"""What a training set is made of: its window, its views, its rows by rule, its proof and its files."""
