"""Where dies come from: simulation, bench, twin; and from a campaign to what is carried out."""
