"""The words that services exchange. Pure: pydantic and `common.{ids,clock,urls}` only."""
