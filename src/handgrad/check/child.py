"""Run a person's file in a process of its own: `python -m handgrad.check.child`.

The process that `sandbox` starts is the keeper. It runs none of the person's code: for each request
on its control socket it forks two processes, and kills whatever is left of them afterwards.

The evaluator runs the file, within limits, in an empty folder, with no input. It records the
forward pass, runs the backward pass, and answers questions over a socket. The judge never runs the
file. It runs the recorded lines again with its own torch, and the file's own text beside them
(`witness`); it holds the reference that autograd gives there, runs the statements that are plain
torch itself (`plain`), asks the evaluator for what the others give, and sends the verdict over a
pipe that the evaluator does not have. What passes between them is JSON and the bytes of tensors
(`pack`), every part looked at before it is used.

So a file can change torch, handgrad, or what it finds in its own process, and change nothing of the
verdict on plain lines. What only its own process can run, such as a call of its own helper
functions, is believed as it is told: what that function computes, or whom it asks, is its own
business. The evaluator is kept from the network, from other folders and from other processes as far
as the system lets it (`contain`); `handgrad doctor` measures how far that is.
"""

from handgrad.check.keeper import main

if __name__ == "__main__":
    main()
