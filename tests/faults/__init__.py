"""Drivers that interrupt and damage what runs, and the tests that use them."""
