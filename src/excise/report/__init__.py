"""What people look at: pictures, cards, numbers in words."""
