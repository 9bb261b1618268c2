"""Operations with two implementations: a plain reference, and a native form in C for training on CPUs.

Each operation has one module. It holds the equation, the signature with shapes, the reference, the native call, and the
condition under which the native form is used. `backend` holds the choice between the two; callers of an operation do
not see which one runs.

    numpy   gather, deduplicate, scoring, constants                 import no torch
    torch   table_rows, lookup, dice, perceptron, activation_unit, whole_step, row_update, dense_update
    torch   segments, inputs, histories                             have no native form; the others build on them

Names of tensors end in their shapes, `query_BD` for [B, D]:

    B  impressions                 D  item width: item fields × embedding width
    T  packed behaviours           K  behaviour width: D + behaviour fields × embedding width
    U  distinct items              F  width of the behaviour fields alone: K − D
    N  rows of any batch           P  profile width
    M  ids of a field              I  inputs of a layer or of the MLP
    C  candidates of one request   H  hidden units
    L  its behaviours              R  rows of a table, W its width
    1  one column                  X  see the class or function that uses it
"""
