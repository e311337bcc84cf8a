"""What a prompt refiner and its image model earn together: words and pictures under one reward."""
