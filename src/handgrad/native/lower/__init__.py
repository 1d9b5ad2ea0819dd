"""Lowering: from the lines of a program to arrays, loops and buffers."""
