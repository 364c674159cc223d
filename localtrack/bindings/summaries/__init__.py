"""What all front ends of TensorBoard share: the names of graphs, and how each kind of summary is reported."""
