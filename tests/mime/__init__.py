"""What the readers of mail promise: known answers, broken mail, offsets that nest, cost that grows with the octets."""
