"""What people write: the campaign, its rules, the wafer file."""
