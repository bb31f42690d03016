"""What a generator draws, and what is measured on it: views, morphs, arithmetic, correspondences."""
