"""What is known of the data's density: score models and tangent spaces."""
