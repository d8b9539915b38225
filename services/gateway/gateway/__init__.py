"""The gateway: the public REST API. Says who may ask and what is well formed, promises fetches, and reads them back."""
