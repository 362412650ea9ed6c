"""What every service needs: settings, logs, metrics, health, bus, codec, start and stop."""
