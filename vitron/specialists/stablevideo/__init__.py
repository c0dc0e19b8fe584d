"""StableVideo (Chai et al. 2023): video editing on a layered neural atlas that is fitted to the user's clip.

A clip is taken apart into a foreground and a background, each a flat picture (its atlas) that every frame looks up
through a mapping of its own. An atlas is edited once, so that the edit is the same in every frame.
"""
