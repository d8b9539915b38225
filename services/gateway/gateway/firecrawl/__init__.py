"""A part of Firecrawl's v2 API over fetches, for clients that exist: scrape and batch scrape in the formats rawHtml and html."""
