-- Which workers have been blamed of late, maybe by another coordinator than the one they sit at.
CREATE INDEX worker_records_struck ON worker_records (struck_at);
