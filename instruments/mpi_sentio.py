"""MPI SENTIO probe stations. Written from the vendor's public command reference; not verified on a real prober.

Verified against: transcripts of public facts, and the emulated SENTIO of this project.

What it does and proves is the same for all stations (`chuck_prober`); here are its words. A missing reply is an error,
although the vendor's own reader waits for ever. No public command reads the stepping contact mode or the compensation.
The mode is therefore set before the first step, and the compensation appears in the height of the chuck.
"""

from collections.abc import Callable

from pydantic import Field

from instruments.before_a_die import CleaningOptions
from instruments.chuck_prober import MICRON, Arrival, ChuckOptions, ChuckProber
from instruments.chuck_temperature import ZERO, ThermoOptions, TrainedContact, bounds_fit, settle
from instruments.sentio_loader import LoaderOptions, SentioLoader, same_wafer
from instruments.sentio_reply import ERRORS, Reply, SentioLink
from instruments.transport import LISTEN, unexpected
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.prober import Heights, Subsite, WaferOnChuck
from labctl.core.switch_matrix import Permit, refuse
from labctl.core.transport import Transport, Wait
from labctl.core.units import Kelvin, Metre, Second

QUESTION = "*RCS 1\nstatus:get_version"
"""Harmless query of a station; it has no ``*IDN?`` before the command set is chosen."""
STEPPING = "StepToSeparation"
"""Stepping contact mode that is set: a step does not end in contact."""

LOST = ("error", "uncontrolled", "standby")
"""States of a thermo chuck in which it does not come to its temperature."""
UNALIGNED = f"the wafer is not aligned: {ERRORS[18]}, or align the wafer at the station"
"""What is said before a step of a station whose home position is not set."""

_SITE = "get_chuck_site_status Wafer"
_BINS = "map:bins:get_num_bins"
_TOUCHES = "setup:contact_counter:get"


class SentioOptions(CleaningOptions, LoaderOptions, ThermoOptions, ChuckOptions):
    """Options of the chuck of a SENTIO station in the bench file."""

    bins_on_map: bool = Field(
        default=False, description="show the hard bin of each die that ends on SENTIO's own map, by the same number"
    )


class MpiSentio(ChuckProber):
    """A SENTIO station over its remote-command socket.

    Args:
        transport: to the station; its probe is None or `QUESTION`.
        name: in the bench file.
        options: ceilings and tolerances.
        permit: raises unless the outputs are verified off; called before every motion.
    """

    station, no_contact_height, stepping = "SENTIO", ERRORS[23], STEPPING

    def __init__(self, transport: Transport, name: str, options: SentioOptions, permit: Permit) -> None:
        super().__init__(name, options, permit)
        self._station = options
        self._since_cleaning = 0
        self._trained = TrainedContact(options, self._near)
        self._held: Kelvin | None = None
        """Temperature that the chuck has stayed at, K."""
        self._link = SentioLink(transport, name)

    def connect(self) -> str:
        """Choose the native command set for this connection and read version, heights and site; nothing moves.

        Of a station with a cassette, whose chuck may be empty, heights are read when a wafer is on it.
        """
        version = self._link.ask(QUESTION).text
        if self._station.cassette is None:
            self.heights()
        return version

    # -- wafers

    @property
    def loading_patience(self) -> Second:
        """Longest time of having a wafer on the chuck, aligned, s; 0 without a cassette."""
        own = self._station
        return 0.0 if own.cassette is None else 3 * own.loading_patience

    def load_wafer(self, slot: int, wafer: str) -> WaferOnChuck | None:
        """Have the wafer of a slot on the chuck, aligned, the needles up; None where no cassette is: a person has to.

        A wafer that is there already stays, and is aligned as one that was loaded, since nobody knows whether it was;
        another one of the cassette is put back first.

        Raises:
            InstrumentError: a wafer from elsewhere is on the chuck, the slot is empty, the wafer says another name, or
                SENTIO refuses.
            NeedlesDown: the needles are not verified up, before or after it.
        """
        own = self._station
        if own.cassette is None:
            return None
        loader = SentioLoader(self._link, own.cassette, own.loading_patience)
        if not loader.there():
            return None
        present = loader.on_chuck()
        self.separate()
        self.permit()
        self._up = self._down = self._place = None
        if present != slot:
            if present is not None:
                loader.unload()
            loader.load(slot)
        name = loader.wafer_id()
        if name and not same_wafer(name, wafer):
            raise InstrumentError(
                f"{self.name}: the wafer of slot {slot} says it is '{name}', and the wafer file says '{wafer}'; it is "
                "on the chuck, and nothing was aligned"
            )
        if own.align_wafer:
            loader.align()
        self.separate()
        return WaferOnChuck(slot, name, own.align_wafer)

    # -- x and y

    def _set_stepping(self) -> None:
        self._link.ask(f"set_stepping_contact_mode {STEPPING}")

    def _require_stepping(self) -> None:
        """Raise InstrumentError unless the home position of the wafer is set, from which the map counts its dies.

        [?] No public command reads whether the wafer is aligned; the home is what an alignment ends with, and whether
        it is forgotten when a wafer is exchanged nobody says.
        """
        if not self._flags()[0]:
            raise InstrumentError(f"{self.name}: {UNALIGNED}")

    def _go_to_die(self, col: int, row: int, site: int) -> Arrival:
        reply = self._move(step := f"map:step_die {col}, {row}, {site}")
        return Arrival(tuple(self._link.integers(step, reply.text)), reply.end_of_route)

    def _current_die(self) -> tuple[int, int] | None:
        """Return column and row of the die that SENTIO is at, None if it names none."""
        reply = self._link.ask("map:die:get_current_index", allowed=range(1, 1024))
        try:
            _, col, row = (int(part) for part in reply.text.split(",")[:3])
        except ValueError:
            return None
        return col, row

    def _subsite(self) -> str:
        """Return the number of the subsite that SENTIO is at, or its message if it names none."""
        return self._link.ask("map:die:get_current_subsite", allowed=range(1, 1024)).text

    def _xy(self) -> tuple[Metre, Metre]:
        x, y = self._link.numbers("get_chuck_xy Wafer, Z", 2)
        return x * MICRON, y * MICRON

    def _pitch(self) -> tuple[Metre, Metre]:
        x, y = self._link.numbers("map:get_index_size", 2)
        return x * MICRON, y * MICRON

    def _offset(self, number: int) -> tuple[Metre, Metre]:
        """Return the place of a subsite in SENTIO's table, right and up of the die's home, m."""
        text = self._link.ask(f"map:subsite:get {number}, UR").text
        try:
            x, y = (float(part) * MICRON for part in text.split(",")[1:3])
        except ValueError as error:
            raise InstrumentError(f"{self.name}: '{text}' is no subsite; expected name,x,y. {LISTEN}") from error
        return x, y

    @property
    def bins_on_map(self) -> bool:
        """Whether the bench file asks for bins on SENTIO's map."""
        return self._station.bins_on_map

    def set_bin(self, col: int, row: int, subsite: Subsite | None, number: int) -> None:
        """Have a bin on SENTIO's map at a die, or at one subsite of it, read back; nothing moves.

        Raises:
            InstrumentError: its binning table is too short, it refuses, or its map has another bin afterwards.
        """
        bins = self._link.integers(_BINS, self._link.ask(_BINS).text)[0]
        if not 0 <= number < bins:
            raise InstrumentError(
                f"{self.name}: SENTIO's binning table has the bins 0 to {bins - 1}, and the hard bin is {number}; "
                "lengthen the table of its project, or choose another 'hard' in the campaign"
            )
        place = f"{col}, {row}" + ("" if subsite is None else f", {subsite.number}")
        self._link.ask(f"map:bins:set_bin {number}, {place}")
        read = self._link.ask(f"map:bins:get_bin {place}").text
        if read != str(number):
            raise InstrumentError(
                f"{self.name}: bin {number} was set at ({place}), and SENTIO's map has '{read}' there; "
                "look at the map in SENTIO, whether somebody works there"
            )

    # -- temperature

    @property
    def heating_patience(self) -> Second:
        """Longest time until the chuck has settled, s; 0 where the bench file sets no temperature."""
        own = self._station
        return 0.0 if own.hottest is None else own.heating_patience + own.soak

    def hold_temperature(
        self, temperature: Kelvin, wait: Callable[[Second], None], go_on: Callable[[], None]
    ) -> Kelvin:
        """Have the chuck at a temperature, separated, and settled; return what is read then, K.

        Meanwhile the contact height is looked at, and `contact` is refused more than `steady` from the temperature at
        which it was trained, unless the bench file says that the station compensates it.

        Raises:
            InstrumentError: the station has no thermo chuck, refuses, or does not settle.
            NeedlesDown: the needles are not verified up.
        """
        own = self._station
        bounds_fit(self.name, temperature, own)
        self.chuck_temperature()
        self._require_gap(self._levels())
        self.separate()
        self.permit()
        held, self._held = self._held == temperature, None

        def watch() -> None:
            go_on()
            self._see_contact()

        self._see_contact()
        settled = settle(self, temperature, own, wait, watch, held)
        self._held = temperature
        return settled

    def _see_contact(self) -> Kelvin | None:
        """Look at which temperature contact was trained; return that of the chuck, None where it does not matter."""
        if self._station.hottest is None or self._station.compensates_temperature:
            return None
        present = self.chuck_temperature()
        self._trained.see(self._read_heights().contact, present)
        return present

    def chuck_temperature(self) -> Kelvin:
        """Return the temperature of the chuck, K; InstrumentError if the station has no thermo chuck."""
        return self._link.numbers("status:get_chuck_temp", 1)[0] + ZERO

    def chuck_setpoint(self) -> Kelvin:
        """Return what the chuck is set to, K."""
        return self._link.numbers("status:get_chuck_temp_setpoint", 1)[0] + ZERO

    def set_chuck(self, temperature: Kelvin) -> None:
        """Set the chuck; it is lifted nowhere for it."""
        self._link.ask(f"status:set_chuck_temp {temperature - ZERO:.2f}, False")

    def chuck_trouble(self) -> str:
        """Return the state of the thermo chuck if it is one in which it does not settle; empty if it tells none."""
        reply = self._link.ask("status:get_chuck_thermo_state", allowed=range(1, 1024))
        state = reply.text.strip().lower()
        return f"the thermo chuck is in the state '{state}'" if not reply.error and state in LOST else ""

    def contact(self) -> None:
        """Raise the chuck to contact, as every such station; refused far from the temperature of a trained contact."""
        present = self._see_contact()
        if present is not None and (doubt := self._trained.doubt(present)):
            raise InstrumentError(f"{self.name}: {doubt}")
        super().contact()

    # -- cleaning

    @property
    def cleans_bad_contact(self) -> bool:
        """Whether the bench file asks for clean needles after a contact that failed."""
        return self._station.clean_on_bad_contact

    def cleaning_due(self) -> str:
        """Return after how many touches of this connection the needles have to be cleaned, empty if not yet."""
        most = self._station.clean_every
        return f"{self._since_cleaning} touches" if most and self._since_cleaning >= most else ""

    def clean(self) -> None:
        """Separate, have SENTIO clean the needles, and separate again, each verified; the place counts as unknown.

        [?] No public source says where the chuck is afterwards, and at which height.

        Raises:
            NeedlesDown: the needles are not verified up, before or after it.
            InstrumentError: the station has no cleaning, or refused.
        """
        self._require_gap(self._levels())
        self.separate()
        self.permit()
        self._up = self._down = self._place = None
        touches = self._station.clean_touchdowns
        self._move(f"aux:cleaning:start {touches}" if touches else "aux:cleaning:start")
        self.separate()
        self._since_cleaning = 0

    # -- z

    def _go_to_contact(self) -> None:
        self._since_cleaning += 1
        self._move("move_chuck_contact")

    def _go_to_separation(self) -> None:
        self._move("move_chuck_separation ")

    def touches(self) -> int:
        """Return how often the chuck has gone to contact since SENTIO's counter was last reset."""
        return self._link.integers(_TOUCHES, self._link.ask(_TOUCHES).text)[0]

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return where the chuck is, its heights, touches and temperature, and doubts about them."""
        h = self.heights()
        where, doubts = self.standing()
        named = (("contact", h.contact), ("overtravel", h.overtravel), ("separation", h.separation), ("hover", h.hover))
        heights = ", ".join(f"{name} {height * 1e6:.1f} um" for name, height in named)
        mode = f"stepping contact mode and compensation: they cannot be read; {STEPPING} is set before the first step"
        state = [f"chuck {where}; {heights}", f"{self.touches()} touches on its counter", mode]
        aligned = self._flags()[0]
        state += ["home position of the wafer is set"] if aligned else []
        return state + self._temperature(), doubts + ([] if aligned else [UNALIGNED])

    def _temperature(self) -> list[str]:
        """Return the temperature of the chuck and the one it is set to; nothing if the station does not tell them."""
        known = range(1, 1024)
        replies = [self._link.ask(f"status:get_chuck_temp{what}", allowed=known) for what in ("", "_setpoint")]
        return (
            []
            if any(reply.error for reply in replies)
            else ["chuck at {} C, set to {} C".format(*(r.text for r in replies))]
        )

    def close(self) -> None:
        """Return the station to its operator and close the connection; nothing moves."""
        try:
            self._link.transport.write("*LOCAL")
        finally:
            self._link.transport.close()

    def _read_heights(self) -> Heights:
        return Heights(*(value * MICRON for value in self._link.numbers("get_chuck_site_heights Wafer", 4)))

    def _site(self) -> tuple[bool, bool]:
        """Return whether the wafer site has a contact height and overtravel on; InstrumentError without vacuum."""
        _, contact, overtravel = self._flags()
        return contact, overtravel

    def _flags(self) -> tuple[bool, bool, bool]:
        """Return whether home and contact of the wafer site are set, and overtravel is on; InstrumentError without
        vacuum."""
        text = self._link.ask(_SITE).text
        flags = self._link.integers(_SITE, text)
        if len(flags) < 4:
            raise unexpected(self.name, _SITE, text, "home, contact, overtravel, vacuum")
        if not flags[3]:
            raise InstrumentError(f"{self.name}: {ERRORS[68]}")
        home, contact, overtravel = (bool(flag) for flag in flags[:3])
        return home, contact, overtravel

    def _z(self) -> Metre:
        return self._link.numbers("get_chuck_z Z", 1)[0] * MICRON

    def _move(self, command: str) -> Reply:
        return self._link.ask(command, wait=Wait.MOTION)


def _make(name: str, options: SentioOptions, transport: Transport) -> MpiSentio:
    """Return the driver of an MPI SENTIO prober."""
    return MpiSentio(transport, name, options, refuse)


DRIVER = Driver(DriverKind.PROBER, _make, SentioOptions, question=QUESTION, emulator="mpi_sentio")
