"""What an administrator types, besides serving: each verb that is more than a few lines has a room here."""
