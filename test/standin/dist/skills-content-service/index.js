// stand-in: skills-content-service
