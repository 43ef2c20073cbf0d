"""What a program is: types, values, ops, graphs, and their text."""
