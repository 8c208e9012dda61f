"""The made-up models of the slides on comparing: how many of the images each has right."""

IMAGES = 10_000
RIGHT = {"A": 9316, "B": 9301, "C": 9287, "D": 9278, "E": 9221, "F": 9105}

# Two ways in which A and D may come to their scores: images that one alone has right, A and D.
ALONE = ((106, 68), (469, 431))
