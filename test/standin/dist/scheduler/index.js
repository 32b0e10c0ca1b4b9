// stand-in: scheduler
