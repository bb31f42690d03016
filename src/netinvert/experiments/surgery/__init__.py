"""Parts of codes that carry the pose, taken out, kept alone, and put into other codes."""
