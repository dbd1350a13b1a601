"""The server of a Daffodil board: this folder is copied to the board's own Linux and runs there by itself.

`python3 -m daffodil --serial NUMBER`, beside the copied folder, starts it. Python 3.8 and its library are enough.
Above `hardware` nothing differs between the board and the emulated one.

Verified against: the emulated board of this project, which the public library of the board's makers drives as well; not
on a board.
"""
