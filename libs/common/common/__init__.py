"""What the three services share: the words of their contracts, the streams between them, and the chassis they run on."""
