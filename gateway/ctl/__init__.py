"""`gateway-ctl`: ask a running gateway, show the answer."""
