"""How to spend a budget: settle a run, run it, resume it, load what it found."""
