"""What people are told after a night: the notification's text, and the tag on the version in Production."""

from dataclasses import dataclass

from include.retraining.monitor.alarms import AlarmState, Step
from include.retraining.monitor.rollback import RollbackProposal


@dataclass(frozen=True)
class Notice:
    """What a notifier sends.

    :param subject: one line
    :param sentences: in the order in which they are read
    """

    subject: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """All sentences, one a line."""
        return "\n".join(self.sentences)


def notice(taken: Step, model: str, version: int, proposal: RollbackProposal | None = None) -> Notice | None:
    """Return what is told of a night, None where nothing changed.

    :param taken: of ``alarms.step``
    :param model: registered model
    :param version: the one in Production
    :param proposal: of ``rollback.proposes_rollback``; it is told together with an alarm, not night after night
    """
    if not taken.raised and not taken.cleared:
        return None
    sentences = [taken.state.alarms[name].sentence for name in taken.raised]
    if taken.asked is not None:
        sentences.append("A retrain is asked for.")
    elif taken.joined and taken.state.request is not None:
        sentences.append(f"It belongs to the retrain that was asked for on {taken.state.request.opened}.")
    if taken.raised and proposal is not None:
        sentences.append(proposal.sentence)
    if taken.cleared:
        sentences.append(f"As usual again: {', '.join(taken.cleared)}.")
    what = f"alarm: {', '.join(taken.raised)}" if taken.raised else f"as usual again: {', '.join(taken.cleared)}"
    return Notice(f"{model} version {version}, {what}", tuple(sentences))


def alarm_tag(state: AlarmState) -> str:
    """Return the raised alarms with the day since which they are, as the version's tag; empty where there is none."""
    return "; ".join(f"{name} since {alarm.raised}" for name, alarm in state.alarms.items() if alarm.raised)
