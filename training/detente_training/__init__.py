"""Fine-tuning, evaluation and calibration of detente models; the console command `detente` starts here."""
