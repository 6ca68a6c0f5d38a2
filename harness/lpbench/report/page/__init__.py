"""The report: one HTML file that needs nothing but a browser, and its pictures as PNG.

Reading order: log (a run's lines), run (a record with its lines), number and picture (how figures
and charts look), charts (what is drawn), told (what is said of a record in words and tables),
sections (in which order), page (the document).
"""
