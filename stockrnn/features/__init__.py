"""The price table → window tensors, and back."""
