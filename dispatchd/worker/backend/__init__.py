"""LLM_INFER jobs run by another server that speaks OpenAI's API: vLLM, Ollama, llama.cpp."""
