"""What more than one service needs: a closed list of nouns, nothing called utils."""
