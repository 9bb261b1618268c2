"""How often the comparison with the champion errs, on logs whose truth is known; see docs/warranty.md."""
