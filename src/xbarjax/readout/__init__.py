from .virtual_ground import VirtualGround as VirtualGround
