"""SEEM: segmentation by text, signal, drawing or example, ported to plain PyTorch."""

from vitron.specialists.seem.model import Seem
from vitron.specialists.seem.network import LayerOutput, SeemNetwork

__all__ = ["LayerOutput", "Seem", "SeemNetwork"]
