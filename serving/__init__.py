"""What both servers share and no client needs: settings, TLS, auth, health, drain, errors."""
