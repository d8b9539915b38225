"""The fetcher: performs one attempt after another, safely, and says what each came to. Decides nothing about retries."""
