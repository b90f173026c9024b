"""How good answers are: figures of each, of all together, and whether a difference is more than chance.

And how the losses of the training went that made the model.
"""
