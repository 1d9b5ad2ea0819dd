"""Run a person's file in a process of its own: `python -m handgrad.check.child`.

The process that `sandbox` starts is the keeper. It runs none of the person's code: for each request
on its control socket it forks a worker that does, and kills whatever is left of it afterwards. A
worker gets limits, an empty folder as its current one, no input, and two private pipes: one for
frames, one for the place where it stood when it had to be stopped.

This guards against accidents, not against malice: the verdict is computed in the worker, beside the
person's code, which could reach into it. What it says is checked field by field all the same.
"""

from handgrad.check.keeper import main

if __name__ == "__main__":
    main()
