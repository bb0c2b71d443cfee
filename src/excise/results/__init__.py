"""What is measured, as frozen records that files hold and every room reads. No torch."""
