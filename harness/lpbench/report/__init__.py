"""From numbers to what a person reads: tables, sentences, pictures, as plain values."""
