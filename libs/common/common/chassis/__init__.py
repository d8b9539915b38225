"""What every service process stands on: settings, logs, traces, health and orderly start and stop."""
