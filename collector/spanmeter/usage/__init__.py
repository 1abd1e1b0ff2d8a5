"""The rules, pure: which spans are LLM calls, who pays, what is counted, what becomes of each span. No I/O."""
