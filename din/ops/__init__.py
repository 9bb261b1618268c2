"""Operations with two implementations: a plain reference, and a native form in C for training on CPUs.

One module an operation: the equation, the signature with shapes, the reference, the native call, and the condition
under which it applies. `backend` holds the one choice between them; nothing outside this package sees it.

    numpy   packing, deduplicate                                    import no torch
    torch   rows, lookup, dice, perceptron, activation_unit, row_update, dense_update
    torch   segments, inputs                                        have no native form; the others build on them

Shape letters: B impressions, T packed behaviours, U distinct items, N rows of any batch, C candidates of one request,
L its behaviours, D item width (item fields × embedding width), K behaviour width (D + behaviour fields × embedding
width), F = K − D, P profile width, I inputs, H hidden units, R rows of a table, W its width.
"""
